"""Times and figures of everything, from commands that anyone can run."""
