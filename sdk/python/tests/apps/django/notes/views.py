from datetime import datetime, timezone

from django import forms
from django.contrib.auth.hashers import check_password, make_password
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils import timezone as zones

from notes.models import Note


class NoteForm(forms.ModelForm):
    class Meta:
        model = Note
        fields = ["text"]


def notes(request):
    form = NoteForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        form.save()
        return redirect("notes")
    return render(request, "notes/notes.html", {"form": form, "notes": Note.objects.order_by("id")})


def visits(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(str(request.session["visits"]))


def time_of_day(request):
    summer = datetime(2026, 7, 1, 12, 0, tzinfo=timezone.utc)
    with zones.override("America/New_York"):
        there = zones.localtime(summer)
    return JsonResponse({"here": zones.localtime(summer).isoformat(), "there": there.isoformat()})


def password(request):
    stored = make_password("correct horse")
    return JsonResponse({"stored": stored, "right": check_password("correct horse", stored)})


def error(request):
    raise LookupError("nothing was found")
