"""Where experience comes from: Gymnasium environments, and small MDPs that are solved exactly."""
