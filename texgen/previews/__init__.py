"""Pictures and pages that show a material: a lit sphere, a plane in perspective, repeats."""
