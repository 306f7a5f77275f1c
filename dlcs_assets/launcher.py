"""The former place of the run launcher: says what to write in `dagster.yaml` instead."""

raise ImportError("""\
dagster.yaml names dlcs_assets.launcher, which is no longer there. Write:

run_launcher:
  module: dlcs_assets.instance.launcher
  class: ForkingRunLauncher
""")
