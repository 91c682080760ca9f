"""What a project may use beside the queue itself; each is a package of its own."""
