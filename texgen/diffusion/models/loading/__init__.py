"""Models from where users have them: the package, a folder, a single file or the hub; and LoRAs, from a file or the hub."""
