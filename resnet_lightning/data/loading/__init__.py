"""Raw batches from memory or from files, in an order that depends only on seed and epoch."""
