"""The worked examples as plain PyTorch: each file is a script that needs torch and torchvision alone."""
