"""Parent process of a sweep: request, forecast, worker pool, scheduler, runner, resume, merge."""
