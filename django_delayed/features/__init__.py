"""What a project may use beside the queue itself; each feature has a package or module of its own."""
