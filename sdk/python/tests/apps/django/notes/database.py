from django.core.management import call_command


class MigrateFirst:
    """Makes the database before the first request of an instance, because each instance has a /tmp of its own."""

    def __init__(self, get_response):
        self.get_response = get_response
        self.is_migrated = False

    def __call__(self, request):
        if not self.is_migrated:
            call_command("migrate", verbosity=0)
            self.is_migrated = True
        return self.get_response(request)
