"""The page that decides: one HTML file made of a manifest and its report."""

from lightning_esp.bundle.report.page import render_report

__all__ = ["render_report"]
