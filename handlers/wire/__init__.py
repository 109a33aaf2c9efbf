"""What goes over a wire: subjects, headers, outcomes, problems, stored events."""
