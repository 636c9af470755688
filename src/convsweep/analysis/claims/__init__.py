"""Analysis of the claims of the lecture (Dive into Deep Learning, section 7.4)."""
