"""Models as files: found on this machine or the hub, loaded and saved."""
