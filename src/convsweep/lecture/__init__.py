"""The lecture, measured: what a lecture on channels says of cost, held against a run's times.

Zhang et al., Dive into Deep Learning, section 7.4 (multiple input and multiple output channels),
with its neighbours on padding, and Howard et al. 2017 on separable layers.
"""
