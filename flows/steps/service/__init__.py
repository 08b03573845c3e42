"""What runs beside the flows: health, metrics, the processes of Prefect."""
