"""How a field gets better, scale by scale.

refine       a scale begins with the field of the next coarser one
search       every pixel looks for the nearest key: the inner loop
votes        every pixel becomes what the keys around it show
usage_cost   how often the bank is shown, and what that costs
bending      at full size, steps between pieces become bends
"""
