"""Many cells, one universal model: which data each cell has, and which model all of them may run."""
