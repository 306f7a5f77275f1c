"""One image's way through its plan, stage by stage, and many images at a time."""
