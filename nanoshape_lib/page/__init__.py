"""What the page without a kernel is made of: stored waves, the network, the shapes, as files that the browser loads."""
