"""Numbers by which an installation is watched: measured in one place, told in two forms."""
