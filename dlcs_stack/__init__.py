"""The embedded stack: stand-ins for AWS, Appetiser and image server, sample pages, and what starts all of them."""
