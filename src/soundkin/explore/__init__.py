"""Seeing a library: maps, clusters, comparisons.

`projection` lays tracks out in two dimensions and keeps them in place as others come, `clusters` groups and names them,
`comparison` sets a few tracks side by side, `pages` draws. Needs `pip install 'soundkin[maps]'`; nothing that serves
answers imports any of it.
"""
