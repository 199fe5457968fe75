"""The swatch model: attention distillation in closed form, over the swatch's own patches at several scales.

Suppose that a picture consists of patches of the swatch and of nothing else. Then the posterior mean of a noisy patch is softmax attention: the queries
are the patches of the picture, the keys and values those of the swatch, the logits -|q - k|^2 / (2 sigma^2) plus the log prior of the key. As sigma falls
to 0, the picture's own attention returns each patch and the swatch's attention returns the nearest patch of the swatch. The attention distillation loss
|Attn(Q, K, V) - Attn(Q, K_s, V_s)| becomes the sum of distances to nearest patches, which is texture optimisation. Two steps lower it in turn: every
pixel looks for the nearest key (search), and every pixel becomes the mean of what the keys around it show (vote). This identity holds in the limit. Two
terms are added to it: a cost for using a key too often, and weights of colours in the vote.

    bank            what a texture is made of: the swatches' patches at every scale
    starts          where a field begins: a quilt, random blocks or noise
    search          how a field improves: search and vote
    steering        constraints on the canvas at every scale: labels, guides, given pixels
    synthesis       from start to finished field, as a generator of states (progress)
    patchwork       several materials, each made alone
    field           where every pixel comes from, and any map shown through it
    prepared_job    a job as the model sees it
    model           the interface to tasks; knobs and presets are its options
    jit, cpu_cores  compiled functions, and work on all cores

References:
    Kwatra, Essa, Bobick, Kwatra, "Texture Optimization for Example-based Synthesis", SIGGRAPH 2005, https://doi.org/10.1145/1073204.1073263.
    Barnes, Shechtman, Finkelstein, Goldman, "PatchMatch", SIGGRAPH 2009, https://doi.org/10.1145/1531326.1531330.
    Kamb, Ganguli, "An analytic theory of creativity in convolutional diffusion models", 2024, https://arxiv.org/abs/2412.20292.
    Zhou, Gao, Chen, Huang, "Attention Distillation", CVPR 2025, https://arxiv.org/abs/2502.20235.
"""
