"""The former place of a run coordinator: says what to write in `dagster.yaml` instead."""

raise ImportError("""\
dagster.yaml names dlcs_assets.run_queue, which is no longer there. Write, and keep the other lines of its config:

run_coordinator:
  module: dagster._core.run_coordinator
  class: QueuedRunCoordinator
  config:
    dequeue_interval_seconds: 1
""")
