"""The embedded stand-in for Appetiser: its HTTP contract over Pillow, or over Kakadu where that is installed."""
