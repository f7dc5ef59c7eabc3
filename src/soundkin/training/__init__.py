"""Training an encoder of one's own: from a folder of audio to an encoder folder.

PyTorch is imported only by this package's modules, never by importing the package itself.
"""
