from django.contrib import admin
from django.urls import path
from django.views.static import serve

from notes import views
from site_of_notes.settings import BASE_DIR

urlpatterns = [
    path("", views.notes, name="notes"),
    path("visits/", views.visits),
    path("time/", views.time_of_day),
    path("password/", views.password),
    path("error/", views.error),
    path("admin/", admin.site.urls),
    path("static/<path:path>", serve, {"document_root": BASE_DIR / "static"}),
]
