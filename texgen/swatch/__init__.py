"""The swatch model: attention distillation in closed form, over the swatch's own patches at several scales.

If the only pictures there are are those whose patches occur in the swatch, the posterior mean of a noisy patch is softmax attention: queries are the
patches of the picture, keys and values those of the swatch, logits -|q - k|^2 / (2 sigma^2) plus the log prior of a key. As sigma falls to 0, the
picture's own attention gives each patch back and the swatch's gives its nearest patch, so that the attention distillation loss
|Attn(Q, K, V) - Attn(Q, K_s, V_s)| becomes the sum of distances to nearest patches: texture optimisation. It is lowered by turns: every
pixel looks for the nearest key (search), every pixel becomes the mean of what the keys around it show (vote). The identity holds in the limit; the
price of using a key too often and the weights of colours in a vote are terms added to it.

    pyramid      scales of a swatch, the distance to its edges
    repeat       what a swatch repeats of itself, and which of its borders meet
    sources      what a texture is made of, and the parts of it that are searched
    atlas        all of them on one sheet
    bank         the sheet at every scale (level), with the descriptors of its patches
    descriptors  patches as keys and queries
    search       every pixel looks for the nearest key: the inner loop
    votes        every pixel becomes what the keys around it show
    candidates   which of several starts is taken
    refine       how a level begins, from the next coarser one
    usage        how often the bank is shown, and what that costs
    quilt        the start that keeps large features whole
    sewing       its inner loops: which piece fits (pieces), what showing it again costs (reuse), where it is cut (seams)
    starts       all starts
    settings     the presets
    synthesis    from start to finished field, as a generator of states

References:
    Kwatra, Essa, Bobick, Kwatra, "Texture Optimization for Example-based Synthesis", SIGGRAPH 2005, https://doi.org/10.1145/1073204.1073263.
    Barnes, Shechtman, Finkelstein, Goldman, "PatchMatch", SIGGRAPH 2009, https://doi.org/10.1145/1531326.1531330.
    Kamb, Ganguli, "An analytic theory of creativity in convolutional diffusion models", 2024, https://arxiv.org/abs/2412.20292.
    Zhou, Gao, Chen, Huang, "Attention Distillation", CVPR 2025, https://arxiv.org/abs/2502.20235.
"""
