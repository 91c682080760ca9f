from django.db import models
from django_delayed import DelayMixin


class Note(DelayMixin, models.Model):
    text = models.CharField(max_length=100)

    def sign(self, leave_in=None):
        """Sign the note; then switch to the schema `leave_in`, if one is given, and leave it active."""
        self.text = f"{self.text}, signed"
        self.save()
        if leave_in:
            from django.db import connection

            connection.set_schema(leave_in)
