"""What fastlb does for its users, a file a feature, each test one thing that one of them would try."""
