"""What the dashboards show: one file per area, each with its BOARD."""
