"""What the engines need to be given a convolution: graphs, layouts, threads."""
