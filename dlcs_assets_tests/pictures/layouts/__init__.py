"""Pictures in hundreds of layouts, as files, and what both readers make of them."""
