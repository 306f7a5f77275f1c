"""Numbers by which an installation is monitored: measured in one place, published in two forms."""
