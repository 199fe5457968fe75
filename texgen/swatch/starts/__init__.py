"""Where a field begins.

starts       all starts: a quilt, random blocks, noise
quilt        the start that keeps large features whole
sewing       its loop: pieces are laid one after the other, then others over the worst seams
pieces       which piece fits
reuse_cost   what showing a piece again costs
seams        where it is cut
candidates   which of several starts goes on
"""
