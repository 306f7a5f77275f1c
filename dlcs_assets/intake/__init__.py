"""What comes in: messages of SQS queues and uploads to buckets, parsed and written to the ledger."""
