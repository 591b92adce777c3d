"""Raw batches, out of memory or out of files, in an order that depends on seed and epoch alone."""
