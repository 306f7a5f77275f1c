"""What `dagster.yaml` names of this project: a storage that pools its connections, and a launcher that forks."""
