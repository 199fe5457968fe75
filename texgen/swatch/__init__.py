"""The swatch model: attention distillation in closed form, over the swatch's own patches at several scales.

If the only pictures there are are those whose patches occur in the swatch, the posterior mean of a noisy patch is softmax attention: queries are the
patches of the picture, keys and values those of the swatch, logits -|q - k|^2 / (2 sigma^2) plus the log prior of a key. As sigma falls to 0, the
picture's own attention gives each patch back and the swatch's gives its nearest patch, so that the attention distillation loss
|Attn(Q, K, V) - Attn(Q, K_s, V_s)| becomes the sum of distances to nearest patches: texture optimisation. It is lowered by turns: every
pixel looks for the nearest key (search), every pixel becomes the mean of what the keys around it show (vote). The identity holds in the limit; the
price of using a key too often and the weights of colours in a vote are terms added to it.

    bank         what a texture can be made of: the swatches' patches at every scale
    starts       where a field begins: a quilt, random blocks, noise
    search       how it gets better: search and vote
    steering     what the canvas wants at each scale: labels, guides, given pixels
    synthesis    from start to finished field, as a generator of states (progress)
    patchwork    several materials, each made alone
    field        where every pixel comes from, and any map shown through it
    setup        a job as the model sees it
    model        the interface to tasks; knobs and presets are its options
    jit, cores   compiled functions, and work on all cores

References:
    Kwatra, Essa, Bobick, Kwatra, "Texture Optimization for Example-based Synthesis", SIGGRAPH 2005, https://doi.org/10.1145/1073204.1073263.
    Barnes, Shechtman, Finkelstein, Goldman, "PatchMatch", SIGGRAPH 2009, https://doi.org/10.1145/1531326.1531330.
    Kamb, Ganguli, "An analytic theory of creativity in convolutional diffusion models", 2024, https://arxiv.org/abs/2412.20292.
    Zhou, Gao, Chen, Huang, "Attention Distillation", CVPR 2025, https://arxiv.org/abs/2502.20235.
"""
