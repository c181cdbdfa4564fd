"""Where sound comes from. Empty on purpose: the capture child runs this file, too."""
