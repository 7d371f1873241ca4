"""The study of `report_study` as fixtures."""

import pytest
from report_study import make_frames

from orthograd.reporting.data import ReportData


@pytest.fixture
def frames():
    return make_frames()


@pytest.fixture
def report_data(frames) -> ReportData:
    return ReportData.of_frames(*frames)
