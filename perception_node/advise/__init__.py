"""The operator's conversation with the ranking, and the ranking that learns from outcomes. No ROS, no network, no files."""
