"""What a run needs beside its model: a folder that outlives it, other processes, signals, the recipe."""
