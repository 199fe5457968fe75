"""What a run needs besides its model: a folder to resume from, other processes, signals, the log, hashes."""
