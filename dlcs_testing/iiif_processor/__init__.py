"""An iiif-processor, the image server of serverless-iiif, in a process of node."""
