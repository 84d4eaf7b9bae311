"""Where the work of a sweep is done: the protocol, by Ray, and in the process that drives the sweep."""
