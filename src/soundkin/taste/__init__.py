"""Who likes what: from plays to taste vectors, and from sound and taste to one score.

`history` reads the plays of a library, `models` learns what goes together, `cold` tells the taste of tracks that nobody
played from their sound, `fusing` brings sound and taste together, `training` measures what each is worth, and `serving`
answers.
"""
