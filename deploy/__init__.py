"""What runs the service: embedded servers, the development stack, the demo."""
