from django.db import models
from django_delayed import DelayMixin


class Note(DelayMixin, models.Model):
    text = models.CharField(max_length=100)

    def sign(self, leave_in=None):
        """Write who it is that signs; then leave the schema of this tenant behind, if one is given."""
        self.text = f"{self.text}, signed"
        self.save()
        if leave_in:
            from django.db import connection

            connection.set_schema(leave_in)
