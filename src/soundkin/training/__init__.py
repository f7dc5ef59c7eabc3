"""Training an encoder of one's own: data, losses, recipes, network, loop, and the export to an encoder
folder.

PyTorch is imported only inside this package's modules, never by importing the package itself.
"""
