"""The ROS 2 side: messages in, `Pipeline.process`, messages out. The only place that knows rclpy and messages."""
