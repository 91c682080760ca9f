"""The shop's work that is written as tasks of Django's, or of django-tasks on Django 5.2."""

import django

from shop.models import Comment

if django.VERSION >= (6, 0):
    from django.tasks import task
else:
    from django_tasks import task


@task(queue_name="comments")
def check_for_spam(comment_id):
    """Publish the comment or put it with the spam; returns what it is now, None if it is gone meanwhile."""
    comment = Comment.objects.filter(pk=comment_id).first()
    if comment is None:
        return None
    comment.check_for_spam()
    return comment.state
