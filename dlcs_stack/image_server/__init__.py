"""The embedded IIIF image server: what stands in for Cantaloupe where there is none."""
